"""Constructor parameters of an estimator: reading, setting, printing and cloning them.

The rules are scikit-learn's, without a dependency on it: the constructor stores every argument
unchanged under its own name, and everything else reads the names from its signature.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._foreign_names import unknown_parameter

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["Parameterized"]


class Parameterized:
    """An object that is made of its constructor's arguments.

    Notes
    -----
    Two objects of one class with equal parameters are interchangeable before ``fit``:
    ``type(model)(**model.get_params())`` is an unfitted copy, and so is ``sklearn.base.clone``.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse arguments that the constructor does not have, naming those it has."""
        parameters = inspect.signature(cls.__init__).parameters
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            for name in kwargs:
                if name not in parameters:
                    message = unknown_parameter(cls.__name__, name, cls._parameter_defaults())
                    raise TypeError(message)
        return object.__new__(cls)

    @classmethod
    def _parameter_defaults(cls) -> dict[str, Any]:
        """Return the default of each constructor argument, in the order of the signature."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {p.name: p.default for p in parameters if p.kind not in variadic}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name.

        Parameters
        ----------
        deep : bool, default True
            Accepted for scikit-learn; the parameters hold no estimators of their own.

        Returns
        -------
        dict of str to object
            In the order of the constructor's signature.
        """
        return {name: getattr(self, name) for name in self._parameter_defaults()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; what is fitted already stays as it is.

        Parameters
        ----------
        **params : object
            New values by name. They are checked by the next ``fit``, as the constructor's are.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a name is not an argument of the constructor. Then nothing is changed.
        """
        known = self._parameter_defaults()
        for name in params:
            if name not in known:
                raise ValueError(unknown_parameter(type(self).__name__, name, known))
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Return the call that makes this object, without the arguments left at their defaults."""
        shown = [
            f"{name}={_expression(getattr(self, name))}"
            for name, default in self._parameter_defaults().items()
            if not _is_default(getattr(self, name), default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_tags__(self) -> Tags:
        """Describe this object to scikit-learn, the only one who asks: a regressor of pairs."""
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=False),
            regressor_tags=RegressorTags(),
            transformer_tags=TransformerTags() if hasattr(self, "transform") else None,
            input_tags=InputTags(sparse=True, string=True, allow_nan=True),
        )


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))


def _expression(value: Any) -> str:
    """Return source text that evaluates to `value` without imports, where there is one."""
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return repr(np.dtype(value).name)
    if isinstance(value, np.generic):
        return _expression(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)
