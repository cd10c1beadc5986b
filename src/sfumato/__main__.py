from sfumato.cli.main import entry

entry()
