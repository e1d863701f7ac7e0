//! `RedisLimiter`: one count for all nodes.
