"""What each masked convolution sees."""

import pytest
import torch

from smalti.nn.masked import HorizontalConv2d, VerticalConv2d, shift_down, shift_right


def seen_from(convolution, i, j, shape=(7, 9)):
    """Where the gradient of the output at (i, j) is not zero."""
    x = torch.randn(1, 2, *shape, requires_grad=True)
    y = convolution(x)
    assert y.shape == (1, 3, *shape)
    y[0, :, i, j].sum().backward()
    return {(int(r), int(c)) for r, c in x.grad[0].abs().sum(0).nonzero()}


@pytest.mark.parametrize("k", [3, 5])
def test_a_vertical_convolution_sees_its_row_and_the_rows_above(k):
    r = k // 2
    expected = {(a, b) for a in range(4 - r, 5) for b in range(4 - r, 5 + r)}
    assert seen_from(VerticalConv2d(2, 3, k), 4, 4) == expected


@pytest.mark.parametrize("k", [3, 5])
def test_a_horizontal_convolution_sees_its_row_up_to_itself(k):
    expected = {(4, b) for b in range(4 - k // 2, 5)}
    assert seen_from(HorizontalConv2d(2, 3, k), 4, 4) == expected


def test_at_the_border_there_is_nothing_to_see():
    assert seen_from(VerticalConv2d(2, 3, 3), 0, 0) == {(0, 0), (0, 1)}
    assert seen_from(HorizontalConv2d(2, 3, 3), 0, 0) == {(0, 0)}


def test_shifting_moves_by_one_and_fills_with_zero():
    x = torch.randn(2, 3, 4, 5)
    down, right = shift_down(x), shift_right(x)
    assert torch.equal(down[:, :, 1:], x[:, :, :-1]) and not down[:, :, 0].any()
    assert torch.equal(right[..., 1:], x[..., :-1]) and not right[..., 0].any()
