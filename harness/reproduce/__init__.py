"""Pictures drawn again from what their files hold: read, find their models, draw, compare, name what differs."""
