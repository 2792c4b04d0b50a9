package world

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Endpoint is where the sidecars look for the authorization server, or for the
// application's credentials.
type Endpoint struct {
	*World
	Address     string
	Connections atomic.Int64 // those that came
	Requests    atomic.Int64
	Stop        func() // ends the server, if there is one
}

// OwnEndpoint gives the world a token endpoint that is down.
func (w *World) OwnEndpoint() *Endpoint {
	w.Helper()
	e := w.NewEndpoint()
	w.AuthURL = "http://" + e.Address
	return e
}

// NewEndpoint makes an endpoint that is down.
func (w *World) NewEndpoint() *Endpoint {
	w.Helper()
	address, err := process.FreeAddress()
	w.Check(err)
	e := &Endpoint{World: w, Address: address, Stop: func() {}}
	w.Cleanup(func() { e.Stop() })
	return e
}

// Serve makes the endpoint what h is.
func (e *Endpoint) Serve(h http.Handler) {
	e.Helper()
	listener, err := new(net.ListenConfig).Listen(e.Ctx, "tcp", e.Address)
	e.Check(err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.Requests.Add(1)
		h.ServeHTTP(w, r)
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			e.Connections.Add(1)
		}
	}
	server.Start()
	e.Stop = server.Close
}

// Answer500 makes the endpoint one that is broken.
func (e *Endpoint) Answer500() {
	e.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "internal error", http.StatusInternalServerError)
	}))
}

// Recover makes the endpoint the authorization server.
func (e *Endpoint) Recover() {
	e.Helper()
	e.Stop()
	e.Serve(e.Auth)
}
