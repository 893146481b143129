"""What reports are made of: figures with their protocols."""
