package compare

import "slices"

// pair is what two contenders have shown one right after the other.
type pair[T any] struct{ a, b T }

// inPairs measures a and b in turn, count times each, and changes who is first each
// time: A B, B A, A B, …, so that what else the machine does meets both alike.
func inPairs[T any](count int, a, b func() (T, error)) ([]pair[T], error) {
	var pairs []pair[T]
	for i := range count {
		var p pair[T]
		first, second := a, b
		into := []*T{&p.a, &p.b}
		if i%2 == 1 {
			first, second = b, a
			into = []*T{&p.b, &p.a}
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

// spread is the middle of some values, and between what the middle half of them lies.
type spread struct{ median, low, high float64 }

// spreadOf is the spread of what of says of each of the values.
func spreadOf[T any](values []T, of func(T) float64) spread {
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
	return spread{median: at(0.5), low: at(0.25), high: at(0.75)}
}
