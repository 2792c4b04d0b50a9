package compare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// contender is one of the proxies, running.
type contender struct {
	name  string
	h1    string // address at which it speaks HTTP/1.1
	h2    string // address at which it speaks HTTP/2 without TLS
	admin string // address of Caddy's administration endpoint, if it is a Caddy
	many  bool   // it is asked for many tenants in turn

	process *process.Process
}

// idleConnections is how many of them each proxy keeps to the upstream, so that none
// makes new ones while it is measured.
const idleConnections = 512

// Names of the contenders.
const (
	bare        = "reverse_proxy, same binary"
	stock       = "stock Caddy, static header_up"
	nginx       = "nginx, proxy_set_header"
	handwritten = "ReverseProxy + oauth2.Transport"
	header      = "upstream_auth, header"
	oauth2      = "upstream_auth, OAuth2"
	many        = "upstream_auth, OAuth2, 10,000 tenants"
	vault       = "upstream_auth, OAuth2, Vault"

	// What the build is worth.
	untuned  = "reverse_proxy, GOGC=100"
	unguided = "reverse_proxy, built with -pgo=off"
)

// start starts the contender of that name in front of upstream, an address.
func start(ctx context.Context, b *setup.Bench, name, upstream string) (*contender, error) {
	dir, err := b.Mkdir("contender")
	if err != nil {
		return nil, err
	}
	c := &contender{name: name, many: name == many}
	if c.h1, err = process.FreeAddress(); err != nil {
		return nil, err
	}
	c.h2 = c.h1
	switch name {
	case nginx:
		err = c.startNginx(b, dir, upstream)
	case handwritten:
		err = c.startHandwritten(b, dir, upstream)
	default:
		err = c.startCaddy(ctx, b, dir, upstream)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	for _, address := range []string{c.h1, c.h2} {
		if err := setup.Await(ctx, c.process, address); err != nil {
			return nil, fmt.Errorf("starting %s: %w", name, err)
		}
	}
	return c, nil
}

func (c *contender) startHandwritten(b *setup.Bench, dir, upstream string) error {
	path, err := b.Path(&process.Program{Module: ".", Package: "handwritten"})
	if err != nil {
		return err
	}
	c.process, err = b.Start(setup.ForProxy.Pin(process.Command{
		Path: path, Dir: dir, Args: []string{"-listen", c.h1, "-to", "http://" + upstream, "-idle", fmt.Sprint(idleConnections)},
	}))
	return err
}

// nginxConfig has one process, with as many workers as it has processors: none but
// itself where that is one.
const nginxConfig = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_max_body_size 0;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream api {
		server %[2]s;
		keepalive %[3]d;
		keepalive_requests 1000000000;
	}
	server {
		listen %[4]s;
		listen %[5]s http2;
		location / {
			proxy_pass http://api;
			proxy_http_version 1.1;
			proxy_request_buffering off;
			proxy_set_header Connection "";
			proxy_set_header X-Tenant-ID "";
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Forwarded-Host $http_host;
			proxy_set_header Authorization "Bearer ` + accessToken + `";
		}
	}
}
`

func (c *contender) startNginx(b *setup.Bench, dir, upstream string) error {
	path, err := setup.Find("nginx", "nginx-light")
	if err != nil {
		return err
	}
	if c.h2, err = process.FreeAddress(); err != nil {
		return err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, dir, upstream, idleConnections, c.h1, c.h2), 0o600); err != nil {
		return err
	}
	c.process, err = b.Start(setup.ForProxy.Pin(process.Command{Path: path, Args: []string{"-c", file, "-p", dir, "-e", "stderr"}, Dir: dir}))
	return err
}
