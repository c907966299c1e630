"""The composition root: from settings to keys, stores, engines and the app, and back again in order."""
