"""What is seen of a script that uses torch or Lightning."""
