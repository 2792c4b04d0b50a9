package e2e

import (
	"context"
	"errors"
	"sync"
	"time"
)

// gate holds back whatever comes to it until it is opened.
type gate struct {
	reached chan struct{} // closed when something has come
	opened  chan struct{}

	reach, release sync.Once
}

func newGate() *gate {
	return &gate{reached: make(chan struct{}), opened: make(chan struct{})}
}

// pass returns when the gate is open.
func (g *gate) pass() {
	g.reach.Do(func() { close(g.reached) })
	<-g.opened
}

// open lets through what waits, and what comes from now on.
func (g *gate) open() { g.release.Do(func() { close(g.opened) }) }

// await returns when something has come to the gate.
func (g *gate) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case <-g.reached:
		return nil
	case <-ctx.Done():
		return errors.New("nothing has come to the gate")
	}
}
