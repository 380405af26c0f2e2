"""What comes from or goes to clients and has to be decoded, in processes of its own with limits."""
