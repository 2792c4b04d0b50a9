package world

import (
	"crypto/rand"
	"fmt"
	"time"
)

// Sends checks that a request of a tenant's reaches the upstream with an access token.
func (w *World) Sends(tenant, access string) error {
	r := Request{Tenant: tenant, ID: fmt.Sprint(tenant, " sends ", time.Now().UnixNano())}
	res, err := w.Send(w.Ctx, r)
	if err == nil {
		err = w.Delivered(r, res)
	}
	if err == nil && w.API.Attempts(r.ID)[0].Header.Get("Authorization") != "Bearer "+access {
		err = fmt.Errorf("%s: another token was sent", tenant)
	}
	return err
}

// Recovers sends requests for a tenant until one is served.
func (w *World) Recovers(tenant string) {
	w.Helper()
	w.RecoversWithin(30*time.Second, tenant)
}

// RecoversWithin is Recovers with a limit that the product promises.
func (w *World) RecoversWithin(limit time.Duration, tenant string) {
	w.Helper()
	w.Soon(limit, func() error {
		r := Request{Tenant: tenant, ID: tenant + " recovers " + rand.Text(), Body: RandomBytes(KiB)}
		res, err := w.Send(w.Ctx, r)
		if err != nil {
			return err
		}
		return w.Delivered(r, res)
	})
}

// Insist sends r, again if need be, and counts how often. The HTTP/1.1 server of Go,
// when it shuts down, closes idle connections on which a request is on its way, and
// those on which one has just arrived, without a look at it. That is so with every
// Caddy. What had reached a handler is not sent again.
func (w *World) Insist(r Request) (res Response, again int64, err error) {
	for {
		res, err := w.Send(w.Ctx, r)
		if err == nil || r.Proto != "HTTP/1.1" || w.Ctx.Err() != nil {
			return res, again, err
		}
		if attempts := len(w.API.Attempts(r.ID)); attempts > 0 {
			return res, again, fmt.Errorf("after %d attempts: %w", attempts, err)
		}
		again++
	}
}

// Deliver sends r in the background and checks what comes of it.
func (w *World) Deliver(r Request) <-chan error {
	done := make(chan error, 1)
	go func() {
		res, _, err := w.Insist(r)
		if err == nil {
			err = w.Delivered(r, res)
		}
		done <- err
	}()
	return done
}

// LetGo is how long a request waits for a refresh, and what a busy machine adds.
const LetGo = 15*time.Second + 5*time.Second

// Timed sends a request of a tenant. It returns how long the answer took, and its
// status and code.
func (w *World) Timed(tenant, id string) (took time.Duration, answer string) {
	begun := time.Now()
	res, err := w.Send(w.Ctx, Request{Tenant: tenant, ID: tenant + " " + id})
	took = time.Since(begun).Round(time.Millisecond)
	if err != nil {
		return took, err.Error()
	}
	answer = fmt.Sprint(res.StatusCode)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "" {
		answer += " " + code
	}
	return took, answer
}

// Ignore sends a request that may be answered in any way.
func (w *World) Ignore(r Request) error {
	_, err := w.Send(w.Ctx, r)
	return err
}
