//! `update --credits` and `--refill`, `top-up`, `deduct`, and `--request-id`.

use crate::session::Shell;

#[tokio::test]
async fn half_of_the_credits_leaves_the_other_half() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ tower-api-key create --name x --credits 5 --refill 7/30d 2> /dev/null
<key-1>
$ ID=$(tower-api-key list --json | cut -d '"' -f 4)
$ credits() { grep -o '"credits":{"remaining":[0-9]*,"refill":[^,}]*' ; }
$ tower-api-key update $ID --credits 3 --json | credits
"credits":{"remaining":3,"refill":{"amount":7
$ tower-api-key update $ID --refill 9/30d --json | credits
"credits":{"remaining":3,"refill":{"amount":9
$ tower-api-key update $ID --refill 8 | grep ^refill
refill  8/30d
$ tower-api-key update $ID --refill /month | grep ^refill
refill  8/month
$ tower-api-key update $ID --no-refill --json | credits
"credits":{"remaining":3,"refill":null
$ tower-api-key update $ID --refill 8
tower-api-key: credits.refill.interval must be given: the key has no refill yet
=> 2
$ tower-api-key create --name y --refill 8
tower-api-key: --refill: must be like 1000/30d, or 1000/month
=> 2
$ tower-api-key update $ID --no-refill --refill 1/1d 2> /dev/null
=> 2
"#,
        );
    }
}

#[tokio::test]
async fn credits_are_added_and_taken_once() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ tower-api-key create --name x --credits 100 2> /dev/null
<key-1>
$ ID=$(tower-api-key list --json | cut -d '"' -f 4)
$ left() { tower-api-key show $ID --json | grep -o '"remaining":[0-9]*' ; }
$ tower-api-key top-up $ID 10 --request-id invoice-17 --json | grep -o '"remaining":[0-9]*'
"remaining":110
$ tower-api-key top-up $ID 10 --request-id invoice-17 --json | grep -o '"remaining":[0-9]*'
"remaining":110
$ tower-api-key top-up $ID 11 --request-id invoice-17
tower-api-key: another request with this id has done something else already
=> 1
$ tower-api-key deduct $ID 111
tower-api-key: the key has 110 credits left, and none were taken
=> 1
$ tower-api-key deduct $ID 111 --or-less --request-id refund-3
Took 110 credits; 0 are left.
$ tower-api-key top-up $ID 1 > /dev/null
$ tower-api-key deduct $ID 111 --or-less --request-id refund-3
Took 110 credits; 0 are left.
$ left
"remaining":1
$ tower-api-key deduct $ID 0 2> /dev/null
=> 2
$ tower-api-key rotate $ID --grace 1h --request-id r > /dev/null 2>&1
$ NEW=$(tower-api-key list --limit 1 --json | cut -d '"' -f 4)
$ tower-api-key revoke $NEW > /dev/null
Services refuse an ended key at once where they are told of changes (PostgreSQL, REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or their CACHE_TTL.
$ tower-api-key rotate $ID --grace 1h --request-id r 2>&1 | sed "s/$NEW/the new one/"
tower-api-key: the key was replaced already, by the new one
$ tower-api-key list --json | wc -l
2
"#,
        );
    }
}
