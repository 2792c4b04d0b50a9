//go:build !race

package modelcheck

// underRace is false: all searches run.
const underRace = false
