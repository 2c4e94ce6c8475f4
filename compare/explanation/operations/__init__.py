"""Operations without parameters, and which of them made one array of another."""
