"""What quota changes: one module per noun, one function per act."""
