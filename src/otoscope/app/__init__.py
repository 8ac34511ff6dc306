"""App in the browser: upload or record a sound, and look at and listen to what a decision rests on.

Gradio draws the interface; it is imported when the app starts, and needs the extra ``app``.
"""
