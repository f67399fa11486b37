from dataclasses import dataclass, field
from enum import Enum
import typing

class Kind(Enum):
    JAM = 1

@dataclass(order=True)
class Jar:
    n: int
    kind: "Kind" = Kind.JAM
    tags: list[str] = field(default_factory=list)

print(Jar(1), sorted([Jar(2), Jar(1)]), typing.get_type_hints(Jar))
print(Jar.__module__, Kind.JAM.__class__.__module__, Jar.__qualname__)
