"""What calls answer, as frozen values. A field that a newer server adds is passed over; one that it drops must have a default here."""
