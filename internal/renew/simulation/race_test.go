//go:build race

package simulation

// defaultSeeds take less than a minute with the race detector.
const defaultSeeds = 500
