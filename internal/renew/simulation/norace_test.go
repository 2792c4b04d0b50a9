//go:build !race

package simulation

// defaultSeeds take less than a minute.
const defaultSeeds = 2500
