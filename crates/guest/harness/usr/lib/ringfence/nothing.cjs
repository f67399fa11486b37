// What a Node that waits has run once, so that it need not learn how while somebody waits: docs/decisions/0016.
