"""Questions as people type them: parsed and checked, never run here."""
