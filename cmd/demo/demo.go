package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
)

// demo is all that runs: two servers, the sidecar, and the app.
type demo struct {
	out     io.Writer
	dir     string
	events  *events
	auth    *authServer
	api     *api
	sidecar *sidecar
	app     *app
	steps   int

	servers                 []*http.Server
	authAddress, apiAddress string
}

// run is the whole demo. Being interrupted is no error.
func run(ctx context.Context, out io.Writer, once bool) error {
	d, err := start(ctx, out)
	if err == nil {
		err = d.tell(ctx, once)
	}
	if ctx.Err() != nil {
		err = nil
		d.say("\nStopping.\n")
	}
	return errors.Join(err, d.close())
}

// tell says what is there, what happens, and, unless it is over then, what there
// is to try until ctx is done.
func (d *demo) tell(ctx context.Context, once bool) error {
	d.introduce()
	if err := d.narrate(ctx); err != nil || once {
		return err
	}
	d.invite()
	defer d.events.followWith(d.line)()
	<-ctx.Done()
	return nil
}

// start starts everything, with acme's access token expired. What it returns is
// to be closed also after an error.
func start(ctx context.Context, out io.Writer) (d *demo, err error) {
	d = &demo{out: out, events: new(events)}
	d.auth = newAuthServer(d.events)
	d.api = &api{auth: d.auth, events: d.events}
	if d.dir, err = os.MkdirTemp("", "upstream-auth-demo-"); err != nil {
		return d, err
	}
	if d.authAddress, err = d.serve(ctx, d.auth.handler()); err != nil {
		return d, err
	}
	if d.apiAddress, err = d.serve(ctx, d.api); err != nil {
		return d, err
	}
	d.sidecar, err = newSidecar(ctx, d.dir, d.authAddress, d.auth.clientSecret, d.apiAddress)
	if err != nil {
		return d, err
	}
	d.app = newApp(d.sidecar.url, d.auth)
	for _, tenant := range []string{"acme", "globex"} {
		access, refresh := d.auth.grantTo(tenant)
		if err := d.sidecar.put(ctx, tenant, tokens{access, refresh}); err != nil {
			return d, err
		}
	}
	d.auth.expire("acme")
	return d, d.sidecar.start()
}

// close stops everything and removes the directory.
func (d *demo) close() error {
	var errs []error
	if d.sidecar != nil {
		errs = append(errs, d.sidecar.stop())
	}
	for _, server := range d.servers {
		errs = append(errs, server.Close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// serve serves handler on a free port and returns its address.
func (d *demo) serve(ctx context.Context, handler http.Handler) (address string, err error) {
	listener, err := listen(ctx)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler}
	d.servers = append(d.servers, server)
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), nil
}

// listen listens on a free port of the loopback interface.
func listen(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", "127.0.0.1:0")
}
