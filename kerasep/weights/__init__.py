"""The bundled artifact."""
