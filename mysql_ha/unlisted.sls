# A minion without a role has nothing to do, and says so.
include:
  - mysql_ha.sync

mysql_ha-unlisted-test-show_notification:
  test.show_notification:
    - text: {{ ('nothing to do on ' ~ grains['id'] ~ ': mysql_ha:nodes lists it neither as director nor as database nor as replica') | json }}
    - require:
      - sls: mysql_ha.sync
