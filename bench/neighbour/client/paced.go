package main

import (
	"runtime"
	"sync"
	"syscall"
	"time"
)

// pacedConnections are enough for none to be waited for, as a rule.
const pacedConnections = 32

// paced makes requests at a rate, whether or not those before were answered. Each takes from
// when it was to be made.
func paced(address string, rate int, duration time.Duration) Result {
	request := []byte("GET / HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: quiet\r\n\r\n")
	result := Result{Statuses: make(map[int]int)}
	count := int(duration.Seconds() * float64(rate))
	due := make(chan time.Time, count)
	var mu sync.Mutex
	var all sync.WaitGroup
	var connected sync.WaitGroup
	connected.Add(pacedConnections)
	for range pacedConnections {
		all.Go(func() {
			c := &conn{address: address}
			defer c.close()
			c.do(request)
			connected.Done()
			for at := range due {
				status := c.do(request)
				took := time.Since(at)
				mu.Lock()
				result.Statuses[status]++
				result.Took = append(result.Took, took)
				mu.Unlock()
			}
		})
	}
	connected.Wait()
	// The timers of Go are late by up to a millisecond.
	runtime.LockOSThread()
	begun := time.Now()
	for i := range count {
		at := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := syscall.NsecToTimespec(int64(time.Until(at))); wait.Nano() > 0 {
			_ = syscall.Nanosleep(&wait, nil)
		}
		due <- at
	}
	close(due)
	all.Wait()
	return result
}
