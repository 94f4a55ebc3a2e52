"""The one family of errors that a user can remedy; anything else that is raised is a bug and keeps its traceback.

A message is one line: where (file, key, layer or option), what is wrong, what to do.
"""


class VerydeepError(Exception):
    """Any mistake in what verydeep was given."""


class PictureError(VerydeepError):
    """A picture that cannot be decoded, is too large, or is too small for what is asked of it."""


class DatasetError(VerydeepError):
    """A data set that is missing, empty, damaged, or not of the format it is taken for."""


class NetError(VerydeepError):
    """A net that does not exist, or that does not fit what is asked of it."""


class WeightsError(VerydeepError):
    """A file of weights that is missing, damaged, or of another net."""


class ProtocolError(VerydeepError):
    """A protocol that does not exist, or that does not fit the net or the pictures."""


class PosteriorsError(VerydeepError):
    """A file of posteriors that is missing, damaged, or does not fit what is asked of it."""


class RecipeError(VerydeepError):
    """A recipe with an unknown key, an impossible value or a missing one."""


class TrainingError(VerydeepError):
    """A training that cannot start, cannot go on, or has stalled."""


class LocalisationError(VerydeepError):
    """Predictions, boxes or a localiser that do not fit each other."""


class TransferError(VerydeepError):
    """Descriptors, labels or a classifier that do not fit each other, or pictures that cannot be divided."""


class StudyError(VerydeepError):
    """A study with a circle, a missing run or an unknown table, or one of which a run failed."""


class ProcessError(VerydeepError):
    """Processes that do not find each other, or do not see the same."""


class DeviceError(VerydeepError):
    """A device that is not here, or has too little memory."""


class ServeError(VerydeepError):
    """A page that cannot be served, at an address that is in use or not this machine's."""
