"""Five LangGraph agents, as one team runs them in production, each with its own habit of using the database.

``base`` keeps the shape of the team's ``BaseAgent`` with the pool strategy taken out; ``scripted_model`` is the chat
model that all of them talk to. One file per agent: ``supervisor_agent`` (nested checkpoint namespaces),
``three_dp_custom_agent`` (a large state), ``project_bodhi_agent`` (interrupts), ``trial_analysis_agent`` (parallel
writes), ``formulation_assistant`` (a loop, and time travel). The harness finds them by name through its registry.
"""
