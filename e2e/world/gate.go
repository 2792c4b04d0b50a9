package world

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Gate holds back whatever comes to it until it is opened.
type Gate struct {
	reached chan struct{} // closed when something has come
	opened  chan struct{}

	reach, release sync.Once
}

// NewGate makes a gate that is shut.
func NewGate() *Gate {
	return &Gate{reached: make(chan struct{}), opened: make(chan struct{})}
}

// Pass returns when the gate is open.
func (g *Gate) Pass() {
	g.reach.Do(func() { close(g.reached) })
	<-g.opened
}

// Open lets through what waits, and what comes from now on.
func (g *Gate) Open() { g.release.Do(func() { close(g.opened) }) }

// Await returns when something has come to the gate.
func (g *Gate) Await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case <-g.reached:
		return nil
	case <-ctx.Done():
		return errors.New("nothing has come to the gate")
	}
}
