package setup

import "slices"

// Pair is what two contenders have shown one right after the other.
type Pair[T any] struct{ A, B T }

// InPairs measures a and b in turn, count times each, and changes who is first each
// time: A B, B A, A B, …, so that what else the machine does meets both alike.
func InPairs[T any](count int, a, b func() (T, error)) ([]Pair[T], error) {
	var pairs []Pair[T]
	for i := range count {
		var p Pair[T]
		first, second := a, b
		into := []*T{&p.A, &p.B}
		if i%2 == 1 {
			first, second = b, a
			into = []*T{&p.B, &p.A}
		}
		for j, measure := range []func() (T, error){first, second} {
			var err error
			if *into[j], err = measure(); err != nil {
				return nil, err
			}
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// Spread is the middle of some values, and between what the middle half of them lies.
type Spread struct{ Median, Low, High float64 }

// SpreadOf is the spread of what of says of each of the values.
func SpreadOf[T any](values []T, of func(T) float64) Spread {
	sorted := make([]float64, len(values))
	for i, v := range values {
		sorted[i] = of(v)
	}
	slices.Sort(sorted)
	at := func(q float64) float64 {
		position := q * float64(len(sorted)-1)
		below := int(position)
		above := min(below+1, len(sorted)-1)
		return sorted[below] + (position-float64(below))*(sorted[above]-sorted[below])
	}
	return Spread{Median: at(0.5), Low: at(0.25), High: at(0.75)}
}
