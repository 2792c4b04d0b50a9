//go:build !race

package modelcheck

// underRace is false: the big searches run.
const underRace = false
