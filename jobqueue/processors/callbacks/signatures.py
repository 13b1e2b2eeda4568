"""The signature of a task: arguments to the data of a job, and back."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems, ResultUnavailableError
from jobqueue.domain.text import words
from jobqueue.domain.unknown import hint
from jobqueue.processors.callbacks import value_types
from jobqueue.processors.callbacks.handlers import is_async, name_of, refuse_generator
from jobqueue.processors.callbacks.type_schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments by position, and by name."""
_JOBS: Final = {True: "ActiveJob", False: "BlockingJob"}
"""The names of the types of jobs, by whether the function is async."""
_MOST_PROBLEMS: Final = 20


class AnnotationError(TypeError):
    """Say that an annotation of a task uses a name that is not known."""


class TaskSignature:
    """The arguments and the result of a function.

    Args:
        function: any but a generator function.
        task: its name, for messages.

    Attributes:
        takes_job: the first parameter of the function is the job.
        is_async: the function is awaited; otherwise it runs in a thread.

    Raises:
        TypeError: the function cannot be a task, or a name in its annotations is not known.
    """

    def __init__(self, function: Callable[..., Any], task: str) -> None:
        refuse_generator(function)
        self.function, self.is_async = function, is_async(function)
        self._task = task
        parameters = list(inspect.signature(function).parameters.values())
        self.takes_job = bool(parameters) and self._is_job(parameters[0])
        self._arguments = inspect.Signature(parameters[1:] if self.takes_job else parameters)
        for parameter in self._arguments.parameters.values():
            self._check(parameter, is_first=parameter is parameters[0])
        with suppress(AnnotationError):
            # A name of an annotation may come later in the module.
            _ = self._types

    def data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the data of a job for a call.

        Raises:
            TypeError: the function cannot be called so.
            InvalidInputError: naming each argument of another type.
        """
        problems: Problems = {}
        data = {}
        for name, value in self._bound(args, kwargs).items():
            try:
                data[name] = value_types.to_json(value)
            except Exception as error:  # noqa: BLE001 - of the code of the value
                problems[f"data.{name}"] = [f"cannot be stored: {words(error)}"]
            else:
                self._read(name, data[name], problems)
        if problems:
            raise InvalidInputError(problems)
        return data

    def call(self, data: Mapping[str, Any]) -> Call:
        """Return the arguments that the data of a job is.

        Raises:
            InvalidInputError: naming arguments that are missing, unknown or of another type.
        """
        problems: Problems = {}
        parameters = self._arguments.parameters
        for name in data:
            if name not in parameters and len(problems) < _MOST_PROBLEMS:
                problems[f"data.{name}"] = [f"is no argument of {self._task}{hint(name, parameters)}"]
        bound = inspect.BoundArguments(self._arguments, {})
        for name, parameter in parameters.items():
            if name in data:
                bound.arguments[name] = self._read(name, data[name], problems)
            elif parameter.default is not parameter.empty:
                bound.arguments[name] = parameter.default
            else:
                problems[f"data.{name}"] = ["is required"]
        if problems:
            raise InvalidInputError(problems)
        return bound.args, bound.kwargs

    def result(self, stored: Any) -> Any:
        """Return a stored result in the type that the function declares.

        Raises:
            ResultUnavailableError: the result is of another type.
        """
        try:
            return value_types.from_json(stored, self._types["return"])
        except ValueError as error:
            path, reason = value_types.misfit(error, "result")
            raise ResultUnavailableError(
                f"the result is not of the type of task {self._task}: {path}: {reason}"
            ) from None

    def schema(self, *, takes_other: bool = False) -> str | None:
        """Return the JSON Schema of the data of a job as JSON; ``None`` if there is none.

        Args:
            takes_other: the task also takes data of other forms, which it upgrades.
        """
        return schema_of(self._arguments.parameters, self._types, takes_other=takes_other)

    def _read(self, name: str, stored: Any, problems: Problems) -> Any:
        try:
            return value_types.from_json(stored, self._types[name])
        except ValueError as error:
            path, reason = value_types.misfit(error, f"data.{name}")
            problems[path] = [reason]
            return None

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._arguments.bind(*args, **kwargs).arguments
        except TypeError as error:
            # Python names a missing argument first, although a misspelt one is the reason.
            wrong = next((name for name in kwargs if name not in self._arguments.parameters), None)
            if wrong is None:
                raise TypeError(f"task {self._task}: {error}") from None
            meant = hint(wrong, self._arguments.parameters)
            raise TypeError(f"task {self._task}: got an unexpected keyword argument {wrong!r}{meant}") from None

    @cached_property
    def _types(self) -> dict[str, Any]:
        """The types of the arguments, and of the result under ``return``."""
        types = {}
        for name in (*self._arguments.parameters, "return"):
            try:
                types[name] = value_types.declared(self.function, name)
                value_types.check_type(types[name])
            except NameError as error:
                raise AnnotationError(
                    f"task {self._task}: the annotation of {name} cannot be read, because {error}; "
                    "import it outside of `if TYPE_CHECKING`"
                ) from None
            except TypeError as error:
                raise TypeError(f"task {self._task}: the annotation of {name} cannot be used: {error}") from None
        return types

    def _is_job(self, parameter: inspect.Parameter) -> bool:
        """Tell whether a parameter is the job.

        Raises:
            TypeError: its annotation is that of the other kind of job.
        """
        annotation = parameter.annotation
        if annotation is parameter.empty:
            return parameter.name == "job"
        with suppress(Exception):
            annotation = value_types.declared(self.function, parameter.name)
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        named = set(re.findall(r"\w+", text)) & set(_JOBS.values())
        # A plain wrapper of an async function hands the job on.
        is_awaited = self.is_async or is_async(inspect.unwrap(self.function))
        if named and _JOBS[is_awaited] not in named:
            text = "is async, so its job is an" if is_awaited else "is a plain function, so its job is a"
            raise TypeError(f"{name_of(self.function)} {text} {_JOBS[is_awaited]}")
        return bool(named)

    def _check(self, parameter: inspect.Parameter, *, is_first: bool) -> None:
        name = name_of(self.function)
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise TypeError(f"{name} cannot be a task with {stars}{parameter.name}: arguments are stored by name")
        if is_first and parameter.name in {"self", "cls"}:
            raise TypeError(
                f"{name} cannot be a task, because it is a method: there is no {parameter.name} when a job runs"
            )
