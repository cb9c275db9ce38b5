"""Questions to the Hugging Face Hub, answered by a child process that imports its client once."""
