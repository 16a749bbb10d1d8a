"""Text about robot logs in separate files: reasoning, plans and sub-tasks of steps, and pools of instructions."""
