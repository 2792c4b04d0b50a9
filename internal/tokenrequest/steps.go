package tokenrequest

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"
)

const (
	// stepsWithin bounds all that is asked before one request, together.
	stepsWithin = 10 * time.Second

	// maxSteps is for how many requests at a time something is asked before: nobody else
	// counts that.
	maxSteps = 64
)

// Steps are what is asked before the request that renews a credential, to make that. They
// use nothing up.
type Steps chan struct{}

// NewSteps returns those of one renewer.
func NewSteps() Steps { return make(Steps, maxSteps) }

// Send sends a request on a connection of its own. The error is an [*Error].
type Send func(*http.Request, *tls.Config) (*Response, error)

// Take has take send what it wants to ask, within 10 s.
func (s Steps) Take(ctx context.Context, take func(context.Context, Send) error) error {
	limits := Limits{Start: time.Now(), Send: stepsWithin, Listen: stepsWithin}
	ctx, cancel := context.WithTimeout(ctx, stepsWithin)
	defer cancel()
	select {
	case s <- struct{}{}:
		defer func() { <-s }()
	case <-ctx.Done():
		return errors.New("too many requests are under way")
	}
	return take(ctx, func(req *http.Request, config *tls.Config) (*Response, error) {
		conn, err := new(Client).Dial(ctx, req.URL.String(), config)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, conn.Close)()
		return conn.Send(ctx, req, limits)
	})
}
