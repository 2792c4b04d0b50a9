package caddymodule

import (
	"context"
	"sync"
)

// keepAlive keeps refresh tokens alive of those providers that say so, until stop, which
// waits for the end of that. Refreshes under way go on.
func (a *App) keepAlive() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, p := range a.providers {
		if p.KeepAlive > 0 {
			running.Go(func() { a.backend.coordinator.KeepAlive(ctx, p.Provider, a.logger) })
		}
	}
	return func() {
		cancel()
		running.Wait()
	}
}
