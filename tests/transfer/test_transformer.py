import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from verydeep.errors import TransferError
from verydeep.transfer import Descriptor, describe

CHECKS = (  # all of scikit-learn's that do not fit an estimator on a table of numbers, which are no pictures
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_mixin_order,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_parameters_default_constructible,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scikit_learn_finds_nothing_wrong(check):
    check("Descriptor", Descriptor())


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_scikit_learns_own_list_of_checks_leaves_out_tables_of_numbers():
    estimator_checks.check_estimator(Descriptor(), on_skip=None)


def test_data_sets_files_and_arrays_are_described_alike(net, pictures):
    some = pictures.subset([0, 13, 25])
    due = describe(net, some, scales=[32])
    files = [some.path(index) for index in range(3)]
    arrays = [some.picture(index) for index in range(3)]
    for given in (some, files, [*map(str, files)], arrays):
        descriptor = Descriptor(net, scales=[32])
        assert descriptor.fit(given).transform(given).tobytes() == due.tobytes()
    assert descriptor.n_features_out_ == 12
    assert descriptor.get_feature_names_out()[-1] == "descriptor11"


def test_it_stands_in_a_pipeline_and_in_a_grid_search(net, pictures, tmp_path):
    files = np.array([str(pictures.path(index)) for index in range(len(pictures))])
    pipeline = make_pipeline(Descriptor(net, scales=[32], cache=tmp_path), LogisticRegression(max_iter=1000))
    search = GridSearchCV(pipeline, {"descriptor__layer": ["relu7", "pool1"]}, cv=2)
    search.fit(files, pictures.labels)
    assert search.best_params_ in ({"descriptor__layer": "relu7"}, {"descriptor__layer": "pool1"})
    assert search.predict(files).shape == (len(files),)
    assert search.best_score_ > 0.6
    clone(pipeline)
    with config_context(transform_output="default"):
        assert pipeline[0].transform(files[:2]).shape == (2, 12)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((4, 10)), r"picture 0: is float64 of shape \(10,\); give files, or arrays \[h, w, 3\] of uint8"),
        ([np.zeros((4, 4), np.uint8)], r"picture 0: is uint8 of shape \(4, 4\)"),
        ("photos", "photos: is one path; give a list of files"),
        (["."], "is a folder; give files"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(net, given, words):
    with pytest.raises(TransferError, match=words) as caught:
        Descriptor(net).fit(given)
    assert "\n" not in str(caught.value)
