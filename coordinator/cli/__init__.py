"""The command line. Thin: it asks a coordinator over gRPC, or starts one.

Nothing heavy is imported before a command needs it: ``tercet --help`` loads neither
gRPC nor SQLAlchemy. :mod:`coordinator.cli.failure` has the exit codes.
"""
