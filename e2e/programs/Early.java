// Refuses the first attempt at a request without reading its body, as servers do that look
// at the token first, and answers the second one with the body's SHA-256:
// java Early.java PORT

import com.sun.net.httpserver.HttpServer;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

class Early {
    public static void main(String[] args) throws Exception {
        var seen = ConcurrentHashMap.<String>newKeySet();
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 128);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            try (exchange) {
                if (seen.add(exchange.getRequestHeaders().getFirst("X-Request-Id"))) {
                    exchange.sendResponseHeaders(401, -1);
                    return;
                }
                var digest = MessageDigest.getInstance("SHA-256");
                new DigestInputStream(exchange.getRequestBody(), digest).transferTo(OutputStream.nullOutputStream());
                var answer = HexFormat.of().formatHex(digest.digest()).getBytes();
                exchange.sendResponseHeaders(200, answer.length);
                exchange.getResponseBody().write(answer);
            } catch (java.security.NoSuchAlgorithmException e) {
                throw new IllegalStateException(e);
            }
        });
        server.start();
    }
}
