"""What training minimises: functions of scores, over embeddings whose gradients are cached, of both kinds of models."""
