package main

import "sync"

// event is one line about what somebody did or saw. It holds no secret.
type event struct {
	who     string
	what    string
	outcome string
}

// events is what the two servers saw, in the order of their answers.
type events struct {
	mu     sync.Mutex
	list   []event
	follow func(event)
}

// add notes an event. A server does so before it answers, so that who has the
// answer finds the event.
func (e *events) add(who, what, outcome string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.follow != nil {
		e.follow(event{who, what, outcome})
		return
	}
	e.list = append(e.list, event{who, what, outcome})
}

// take returns the events since the last take.
func (e *events) take() []event {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}

// followWith hands each event to f that was not taken or is yet to come, one at a
// time, until the function that it returns is called.
func (e *events) followWith(f func(event)) (end func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, seen := range e.list {
		f(seen)
	}
	e.list, e.follow = nil, f
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.follow = nil
	}
}
