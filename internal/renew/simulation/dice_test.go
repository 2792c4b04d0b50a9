package simulation

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// dice decides. What it says at a site depends on the seed, the site and how often
// it was asked there, so that goroutines do not get into each other's decisions.
type dice struct {
	seed uint64

	mu    sync.Mutex
	asked map[string]uint64
}

func newDice(seed uint64) *dice { return &dice{seed: seed, asked: make(map[string]uint64)} }

// at returns the generator for the next decision at site.
func (d *dice) at(site string) *rand.Rand {
	d.mu.Lock()
	n := d.asked[site]
	d.asked[site]++
	d.mu.Unlock()
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(site))
	return rand.New(rand.NewPCG(d.seed*0x9e3779b97f4a7c15+n, hash.Sum64()))
}

// between returns a duration in [low, high).
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// choose returns one of them.
func choose[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
