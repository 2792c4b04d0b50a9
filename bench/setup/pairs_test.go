package setup

import (
	"errors"
	"slices"
	"testing"
)

func TestPairsAreMeasuredInTurnAndChangeWhoIsFirst(t *testing.T) {
	var order []string
	n := 0
	measure := func(name string) func() (int, error) {
		return func() (int, error) {
			order = append(order, name)
			n++
			return n, nil
		}
	}
	pairs, err := InPairs(3, measure("a"), measure("b"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "b", "a", "a", "b"}; !slices.Equal(order, want) {
		t.Errorf("measured in the order %v", order)
	}
	if want := []Pair[int]{{1, 2}, {4, 3}, {5, 6}}; !slices.Equal(pairs, want) {
		t.Errorf("pairs %v, want %v", pairs, want)
	}
}

func TestPairsEndWithTheFirstError(t *testing.T) {
	failure := errors.New("failed")
	_, err := InPairs(3, func() (int, error) { return 0, failure }, func() (int, error) { return 0, nil })
	if !errors.Is(err, failure) {
		t.Error(err)
	}
}

func TestSpreadIsTheMedianAndTheMiddleHalf(t *testing.T) {
	self := func(f float64) float64 { return f }
	for _, test := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{7}, Spread{7, 7, 7}},
		{[]float64{3, 1, 2}, Spread{2, 1.5, 2.5}},
		{[]float64{5, 1, 4, 2, 3}, Spread{3, 2, 4}},
		{[]float64{4, 1, 2, 3}, Spread{2.5, 1.75, 3.25}},
	} {
		if got := SpreadOf(test.values, self); got != test.want {
			t.Errorf("%v: %v, want %v", test.values, got, test.want)
		}
	}
}
