"""Bank transfers over real processes, under real faults, judged from three logs.

Three nodes over one database, four banks on databases of their own, sixteen clients,
and a proxy on every link between them. ``make chaos`` runs it; docs/chaos.md says what
is injected and how it is judged.

The evidence is of three kinds, and no code is shared by those who write them: what
clients were told (:mod:`.history`), what the coordinator's database says (read by plain
SQL), and what triggers in the banks' databases wrote down. :mod:`.judge` compares them
and believes nobody.
"""
