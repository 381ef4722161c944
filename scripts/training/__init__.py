"""What brings a GGUF model to the trainers and an adapter back."""
