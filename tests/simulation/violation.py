"""What is raised when an invariant does not hold."""


class Violation(AssertionError):
    """`rule` is the invariant's number or the part that noticed."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule
