"""PostgreSQL 18 and Valkey from pip packages' binaries: own lifecycle, data kept under home. Imports no Django."""
