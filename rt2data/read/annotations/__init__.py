"""Text about robot logs that is kept beside them: reasoning, plans and sub-tasks of steps, and pools of instructions."""
