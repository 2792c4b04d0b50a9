package programs

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// nginxCacheConf is a proxy that caches what it may.
const nginxCacheConf = `
daemon off;
user root;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache keys_zone=all:1m;
	server {
		listen %[2]s;
		location / {
			proxy_pass http://%[3]s;
			proxy_cache all;
		}
	}
}
`

// StartNginxCache starts an nginx that passes requests on and caches the answers.
func StartNginxCache(t *testing.T, backend string) (address string) {
	t.Helper()
	dir := t.TempDir()
	return start(t, func(address string) process.Command {
		conf := write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(nginxCacheConf, dir, address, backend))
		return process.Command{Path: "nginx", Args: []string{"-p", dir, "-e", "stderr", "-c", conf}, Dir: dir}
	})
}
