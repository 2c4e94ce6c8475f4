from watch.program.trainings import Trainings


def test_a_training_begins_with_an_optimizer_that_is_made_after_another_has_stepped() -> None:
    trainings, begun = Trainings(skip=1), list[int]()
    trainings.begun.append(lambda: begun.append(1))
    trainings.optimizer_made()
    trainings.optimizer_made()  # a second one of the same training
    assert trainings.passing
    weights = [object()]
    for _ in range(3):
        trainings.optimizer_stepped(weights)
    assert trainings.passing
    trainings.optimizer_made()
    assert not trainings.passing
    assert begun == [1]
    assert trainings.trained == weights


def test_a_third_training_passes_two() -> None:
    trainings = Trainings(skip=2)
    for _ in range(2):
        trainings.optimizer_made()
        trainings.optimizer_stepped([])
        assert trainings.passing
    trainings.optimizer_made()
    assert not trainings.passing


def test_without_a_training_to_skip_the_first_is_watched() -> None:
    assert not Trainings(skip=0).passing
