"""What turns pictures into features: networks that others trained."""
