//go:build race

package modelcheck

// underRace leaves most searches out: they run in one goroutine, and the race
// detector makes them ten times slower.
const underRace = true
