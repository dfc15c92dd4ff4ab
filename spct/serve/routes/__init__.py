"""The routes: each reads its wire, asks the gateway, and writes its wire."""
